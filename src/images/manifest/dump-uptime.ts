/** The time of the dump in the inventory, which no two dumps of a machine share. */
import type { ImageDirectory } from '../image-directory.ts';
import { Reading } from '../reading.ts';

/** @returns undefined without a readable inventory, and for a dump without `trackMem`, whose inventory has no time. */
export function dumpUptimeOf(images: ImageDirectory): number | undefined {
  let uptime: number | undefined;
  new Reading(images).each('inventory.img', 'INVENTORY', ({ message }) => {
    uptime = message.number('dump_uptime');
  });
  return uptime !== undefined && Number.isSafeInteger(uptime) ? uptime : undefined;
}
