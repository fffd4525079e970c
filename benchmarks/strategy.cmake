cop_add_bench(strategy_bench strategy_bench.c "${PROJECT_SOURCE_DIR}/tests/search/hwgpt.c"
              "${PROJECT_SOURCE_DIR}/tests/search/problem_run.c"
              "${PROJECT_SOURCE_DIR}/tests/search/problems.c" LIBS cop_search)
cop_add_bench(layerwise_bench layerwise_bench.c LIBS cop_search)
target_compile_definitions(
  layerwise_bench PRIVATE COP_MODEL_CONFIG="${PROJECT_SOURCE_DIR}/configs/models/llama-3.1-8b.json")
