/** Descriptors that this process was given by number, as those of a program that started it. */
import { native, type OwnedFd } from './binding.ts';

/** @throws NativeError; EBADF if the number is no open descriptor. */
export function ownCopy(number: number): OwnedFd {
  const self = native.pidfdOpen(process.pid);
  try {
    return native.pidfdGetfd(self, number);
  } finally {
    self.close();
  }
}
