cop_add_bench(halving_bench halving_bench.c curves.c replay.c LIBS cop_search)
cop_add_bench(knapsack_bench knapsack_bench.c LIBS cop_search)
