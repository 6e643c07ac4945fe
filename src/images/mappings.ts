/** The mappings of a task, with names for people. */
import type { Reading } from './reading.ts';
import { spaceFacts } from './task-images.ts';

export interface Mapping {
  readonly from: number;
  readonly to: number;
  /** VMA_AREA_REGULAR and the others of CRIU's image.h. */
  readonly status: number;
  /** Of shared memory, or of an open file. */
  readonly id: number;
}

export interface AddressSpace {
  readonly pageSize: number;
  readonly mappings: readonly Mapping[];
}

/** The kernel's own limit of mappings is 65,530 (vm.max_map_count); it can be raised. */
const mostMappings = 1_000_000;

/** @returns undefined if the image is absent or faulty. */
export function readAddressSpace(reading: Reading, pid: number): AddressSpace | undefined {
  let space: AddressSpace | undefined;
  reading.each(`mm-${pid}.img`, 'MM', ({ message }) => {
    const mappings: Mapping[] = [];
    for (const vma of message.messages('vmas')) {
      if (mappings.length >= mostMappings) break;
      mappings.push({
        from: vma.number('start')!,
        to: vma.number('end')!,
        status: vma.number('status')!,
        id: vma.number('shmid')!,
      });
    }
    space = { pageSize: spaceFacts(message).pageSize, mappings: mappings.sort((a, b) => a.from - b.from) };
  });
  return space;
}

const stack = 1 << 1;
const kernels = (1 << 2) | (1 << 3) | (1 << 12);
const heap = 1 << 5;
export const ofFile = (1 << 6) | (1 << 7);
export const sharedAnonymous = 1 << 8;
const systemV = 1 << 10;

/** @param paths of open files, by their ids. */
export function nameOf({ status, id }: Mapping, paths: ReadonlyMap<number, string>): string {
  if (status & heap) return '[heap]';
  if (status & stack) return '[stack]';
  if (status & kernels) return '[vdso]';
  if (status & systemV) return 'System V shared memory';
  if (status & sharedAnonymous) return 'shared memory';
  if (status & ofFile) return paths.get(id) || `file ${id}`;
  return 'private memory';
}
