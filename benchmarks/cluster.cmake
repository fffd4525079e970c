cop_add_bench(cluster_bench cluster_bench.c LIBS cop_search)
