/* Pi by numerical integration: every rank takes its share of the strips, MPI sums them up. */
#include <math.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
  int rank, size, length;
  char host[MPI_MAX_PROCESSOR_NAME];
  long strips = argc > 1 ? atol(argv[1]) : 1000000;
  double share = 0.0, pi = 0.0;

  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  MPI_Get_processor_name(host, &length);
  printf("rank %d of %d on %s\n", rank, size, getenv("ZENKEI_NODE"));
  fflush(stdout);
  for (long i = rank; i < strips; i += size) {
    double x = (i + 0.5) / strips;
    share += 4.0 / (1.0 + x * x);
  }
  MPI_Reduce(&share, &pi, 1, MPI_DOUBLE, MPI_SUM, 0, MPI_COMM_WORLD);
  if (rank == 0) printf("pi is %.10f, off by %.1e\n", pi / strips, fabs(pi / strips - M_PI));
  MPI_Finalize();
  return 0;
}
