add_executable(parity_model ${CMAKE_CURRENT_LIST_DIR}/model_probe.cc)
target_link_libraries(parity_model PRIVATE engram_continual)
