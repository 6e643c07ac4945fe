/** Compilers, builds, and computations. */
import { type Program, progress } from '../program.ts';

const loop = `while :; do date +%N >progress; sleep 0.1; done`;

export const builds: readonly Program[] = [
  {
    name: 'make -j2 with shell loops',
    files: { Makefile: `all: one two\none two:\n\t@${loop}\n` },
    start: 'exec make -j2',
    ready: 'test -s progress',
    works: progress,
  },
  {
    name: 'make -j2, recursive, with gcc',
    files: {
      Makefile: `all: ; @while :; do $(MAKE) -B one.o two.o && date +%N >progress; done\n%.o: %.c ; gcc -O2 -c $< -o $@\n`,
      'one.c': '#include <stdio.h>\nint one(void) { return printf("one"); }\n',
      'two.c': '#include <stdio.h>\nint two(void) { return printf("two"); }\n',
    },
    start: 'exec make -j2',
    ready: 'test -s progress',
    works: progress,
  },
  {
    name: 'ninja',
    files: {
      'build.ninja': `rule loop\n command = sh -c '${loop.replaceAll('$', '$$')}'\nbuild out: loop\n`,
    },
    start: 'exec ninja',
    ready: 'test -s progress',
    works: progress,
  },
  {
    name: 'g++, a large translation unit',
    files: {
      'big.py': `print("#include <map>\\n#include <string>")
for n in range(2500): print(f"std::map<int, std::string> f{n}() {{ std::map<int, std::string> m; m[{n}] = \\"{n}\\"; return m; }}")
print("int main() { return f0().size() == 1 ? 0 : 1; }")
`,
    },
    start: 'python3 big.py >big.cc; exec g++ -O2 -o big big.cc',
    ready: 'pgrep cc1plus',
    works: 'if test $PHASE = before; then kill -0 $PID; else test -x big && ./big; fi',
  },
  {
    name: 'C with threads, OpenMP and timers',
    files: {
      'omp.c': `#include <stdio.h>
#include <omp.h>
#include <signal.h>
#include <time.h>
#include <sys/time.h>
static volatile int ticks;
static void tick(int s) { (void)s; ticks++; }
int main(void) {
  signal(SIGALRM, tick);
  struct itimerval every = {{0, 20000}, {0, 20000}};
  setitimer(ITIMER_REAL, &every, NULL);
  for (long n = 0;; n++) {
    double sum = 0;
#pragma omp parallel for reduction(+ : sum)
    for (int i = 1; i < 100000; i++) sum += 1.0 / i;
    FILE* f = fopen("progress", "w");
    fprintf(f, "%ld %d %f", n, ticks, sum);
    fclose(f);
  }
}
`,
    },
    start: 'gcc -O2 -fopenmp -o omp omp.c && export OMP_NUM_THREADS=3 && exec ./omp',
    ready: 'test -s progress',
    works: progress,
  },
  {
    name: 'Open MPI, two ranks',
    files: {
      'ring.c': `#include <mpi.h>
#include <stdio.h>
int main(int c, char** v) {
  MPI_Init(&c, &v);
  int rank, n = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  for (;; n++) {
    int all;
    MPI_Allreduce(&n, &all, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    if (rank == 0) { FILE* f = fopen("progress", "w"); fprintf(f, "%d", all); fclose(f); }
  }
}
`,
    },
    start: 'mpicc -o ring ring.c && exec mpirun --allow-run-as-root --oversubscribe -np 2 ./ring',
    ready: 'test -s progress',
    works: progress,
  },
  {
    name: 'rustc',
    files: {
      'big.py': `for n in range(3000): print(f"pub fn f{n}(v: &mut Vec<u64>) {{ v.push({n}); v.sort(); }}")
print("fn main() { let mut v = vec![]; f0(&mut v); assert!(v.len() == 1); }")
`,
    },
    start: 'python3 big.py >big.rs; exec rustc -O big.rs',
    ready: 'pgrep rustc',
    works: 'if test $PHASE = before; then kill -0 $PID; else test -x big && ./big; fi',
  },
  {
    name: 'ffmpeg',
    start:
      'exec ffmpeg -nostdin -loglevel error -re -f lavfi -i testsrc=size=160x120:rate=10 -f rawvideo -y out.raw',
    ready: 'test -s out.raw',
    works: 'a=$(stat -c %s out.raw); sleep 2; test $(stat -c %s out.raw) -gt $a',
  },
  {
    name: 'povray',
    files: {
      's.pov':
        'camera { location <0,2,-3> look_at 0 } light_source { <2,4,-3> 1 } sphere { 0 1 pigment { rgb 1 } finish { reflection 0.9 } }\n',
    },
    start: 'exec povray +Is.pov +W4000 +H3000 +A0.0 +R9 -D +Oout.png',
    ready: 'sleep 2; kill -0 $(pgrep -n povray)',
    works:
      'kill -0 $PID && a=$(cut -d" " -f14 /proc/$PID/stat) && sleep 1 && test $(cut -d" " -f14 /proc/$PID/stat) -gt $a',
  },
  {
    name: 'stockfish with a pipe of its own',
    start: `exec sh -c '(printf "setoption name Threads value 2\\ngo infinite\\n"; sleep 9999) | stockfish >progress'`,
    ready: 'test -s progress',
    works: progress,
  },
  {
    name: 'sort of a large file',
    start: `exec sh -c 'seq 6000000 | shuf --random-source=/dev/zero >big; touch ready; sort --parallel=2 -S 8M -T $DIR -n big >sorted; touch done'`,
    ready: 'test -e ready',
    works: 'if test $PHASE = before; then kill -0 $PID; else test -e done && seq 6000000 | cmp - sorted; fi',
  },
  {
    name: 'gdb with a stopped program',
    start: `exec sh -c 'tail -f /dev/null | gdb -q -batch-silent -ex run --args sh -c "${loop}"'`,
    ready: 'test -s progress',
    works: progress,
  },
  {
    name: 'ocaml',
    files: {
      'count.ml': `let () = let n = ref 0 in
while true do incr n; let f = open_out "progress" in output_string f (string_of_int !n); close_out f; Unix.sleepf 0.05 done
`,
    },
    start:
      'ocamlfind ocamlopt -package unix -linkpkg count.ml -o count 2>/dev/null || ocamlopt -I +unix unix.cmxa count.ml -o count; exec ./count',
    ready: 'test -s progress',
    works: progress,
  },
  {
    name: 'gnuplot that waits',
    start: `exec sh -c '(while :; do echo "set print \\"progress\\"; print time(0.0); set print"; sleep 0.2; done) | gnuplot'`,
    ready: 'test -s progress',
    works: progress,
  },
];
