add_executable(parity_web ${CMAKE_CURRENT_LIST_DIR}/web_probe.cc)
target_link_libraries(parity_web PRIVATE engram_web engram_annotate)
