// A program of 32 bits, without libc: prints `ready`, and `read 1` when it has read a byte.
static long call(long number, long first, const char* second, long third) {
  long result;
  __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(first), "c"(second), "d"(third) : "memory");
  return result;
}

void _start(void) {
  char byte[1];
  call(4, 1, "ready\n", 6);
  if (call(3, 0, byte, 1) == 1) call(4, 1, "read 1\n", 7);
  call(1, 0, 0, 0);
}
