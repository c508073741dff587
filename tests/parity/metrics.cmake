add_executable(parity_metrics ${CMAKE_CURRENT_LIST_DIR}/metrics_probe.cc)
target_link_libraries(parity_metrics PRIVATE engram_train)
