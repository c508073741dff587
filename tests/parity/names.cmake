add_executable(parity_names ${CMAKE_CURRENT_LIST_DIR}/names_probe.cc)
target_link_libraries(parity_names PRIVATE engram_checkpoint)
