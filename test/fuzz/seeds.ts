/** Directories of images to begin with. Those of real programs are larger; the run takes any as arguments. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fown, mapping, regular, smallDump, space } from '../unit/images/support/dump.ts';
import { encode, image, record } from '../unit/images/support/encode.ts';
import { withManifest } from '../unit/images/support/manifest.ts';

const desc = { key: 0, uid: 0, gid: 0, cuid: 0, cgid: 0, mode: 0, id: 0 };
const sizes = {
  so_sndbuf: 0,
  so_rcvbuf: 0,
  so_snd_tmo_sec: 0,
  so_snd_tmo_usec: 0,
  so_rcv_tmo_sec: 0,
  so_rcv_tmo_usec: 0,
};
const socket = { ino: 255, type: 1, state: 1, flags: 0, backlog: 0, fown, opts: sizes };

/** Images of the kinds that have raw bytes behind their messages, messages in messages, or numbers that name other images. */
function otherKinds(): Record<string, Uint8Array> {
  const chunk = record(encode('ghost_chunk_entry', { len: 4, off: 4096 }));
  return {
    ...smallDump(),
    'mm-7.img': image(
      'MM',
      space({ vmas: [mapping(0x10000, 4), mapping(0x20000, 1, { status: 257, shmid: 55 })] }),
    ),
    'pagemap-shmem-55.img': image(
      'PAGEMAP',
      { pages_id: 2 },
      { vaddr: 0, compat_nr_pages: 1, in_parent: true },
    ),
    'pages-2.img': Buffer.alloc(4096),
    'files.img': image(
      'FILES',
      regular(1, '/bin/sleep', { build_id: [1, 2, 3, 4, 5] }),
      regular(2, '/gone'),
      regular(3, '/'),
      regular(4, '/'),
      {
        type: 'INETSK',
        id: 5,
        isk: {
          ...socket,
          id: 5,
          family: 10,
          proto: 6,
          src_port: 1,
          dst_port: 2,
          src_addr: [0, 0, 0, 1],
          dst_addr: [1, 2, 3, 4],
        },
      },
      { type: 'UNIXSK', id: 6, usk: { ...socket, id: 6, uflags: 1, peer: 0, name: Buffer.from('\0x') } },
    ),
    'remap-fpath.img': image('REMAP_FPATH', { orig_id: 2, remap_id: 10, remap_type: 'GHOST' }),
    'ghost-file-a.img': image(
      'GHOST_FILE',
      { uid: 0, gid: 0, mode: 0o100600, chunks: true, size: 8192 },
      chunk,
      Buffer.from('data'),
    ),
    'tcp-stream-ff.img': image(
      'TCP_STREAM',
      { inq_len: 1, inq_seq: 0, outq_len: 2, outq_seq: 0, opt_mask: 0, snd_wscale: 0, mss_clamp: 0 },
      Buffer.from('abc'),
    ),
    'pipes-data.img': image('PIPES_DATA', { pipe_id: 1, bytes: 3 }, Buffer.from('abc')),
    'tty-info.img': image('TTY_INFO', {
      id: 0,
      type: 'PTY',
      locked: false,
      exclusive: false,
      packet_mode: false,
      sid: 5,
      pgrp: 5,
      rdev: 34816,
      pty: { index: 3 },
    }),
    'cgroup.img': image('CGROUP', {
      controllers: [
        { cnames: ['cpu'], dirs: [{ dir_name: 'x', children: [{ dir_name: 'y' }], properties: [] }] },
      ],
    }),
    'ipcns-sem-9.img': image('IPCNS_SEM', { desc, nsems: 5 }, Buffer.alloc(16)),
    'ipcns-msg-9.img': image(
      'IPCNS_MSG',
      { desc, qbytes: 9, qnum: 1 },
      record(encode('ipc_msg', { mtype: 1, msize: 9 })),
      Buffer.alloc(16),
    ),
  };
}

/** @param place an empty directory. */
export function seedDirectories(place: string): string[] {
  return [smallDump(), otherKinds(), withManifest(smallDump())].map((files, index) => {
    const directory = join(place, `seed-${index}`);
    mkdirSync(directory);
    for (const [name, bytes] of Object.entries(files)) writeFileSync(join(directory, name), bytes);
    return directory;
  });
}
