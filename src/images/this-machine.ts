/** This machine as any program sees it. criuctl knows more: it tells processes of the service apart. */
import { readFileSync } from 'node:fs';
import { statusField } from '../proc/status.ts';
import { userName } from '../proc/users.ts';
import type { Machine } from './machine.ts';

export const thisMachine: Machine = {
  processOf: (pid) => {
    try {
      const status = readFileSync(`/proc/${pid}/status`, 'utf8');
      const uid = Number(statusField(status, 'Uid')?.split(/\s/)[0]);
      const leader = Number(statusField(status, 'Tgid') ?? pid);
      const by = {
        pid: leader,
        name: status.slice('Name:\t'.length, status.indexOf('\n')),
        user: userName(uid),
      };
      return { as: leader === pid ? 'process' : 'thread', by };
    } catch {
      return undefined;
    }
  },
  userName,
};
