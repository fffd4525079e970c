cop_add_bench(strategy_bench strategy_bench.c "${PROJECT_SOURCE_DIR}/tests/search/hwgpt.c"
              "${PROJECT_SOURCE_DIR}/tests/search/problem_run.c"
              "${PROJECT_SOURCE_DIR}/tests/search/problems.c" LIBS cop_search)
