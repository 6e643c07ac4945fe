/** The facts about this machine that a manifest keeps. */
import { createHash, createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { hostname, machine, release, uptime } from 'node:os';
import type { Manifest, ManifestMachine } from './format.ts';
import { manifestFormat } from './names.ts';

export function machineFacts(): ManifestMachine {
  return {
    id: machineId(),
    bootId: textOf('/proc/sys/kernel/random/boot_id'),
    host: hostname(),
    kernel: release(),
    architecture: machine(),
    cpu: cpuHere(),
  };
}

export function cpuHere(): ManifestMachine['cpu'] {
  return cpuFacts(textOf('/proc/cpuinfo'));
}

/** machine-id(5) asks programs to derive ids of their own from it. */
function machineId(): string {
  const id = textOf('/etc/machine-id');
  return id === '' ? '' : createHmac('sha256', id).update(manifestFormat).digest('hex').slice(0, 32);
}

/** @param cpuinfo proc_cpuinfo(5): the first processor counts. Its features are `flags` on x86, `Features` on ARM. */
export function cpuFacts(cpuinfo: string): ManifestMachine['cpu'] {
  const field = (names: string): string =>
    new RegExp(`^(?:${names})\\s*:\\s*(.*)$`, 'm').exec(cpuinfo)?.[1]?.trim() ?? '';
  const flags = field('flags|Features|features').split(/\s+/).sort().join(' ');
  return {
    model: field('model name|Processor|CPU part|cpu').slice(0, 200),
    flags: createHash('sha256').update(flags).digest('hex'),
  };
}

export function clocksNow(): Manifest['clocks'] {
  return {
    realtimeUsec: Date.now() * 1000,
    monotonicUsec: Number(process.hrtime.bigint() / 1000n),
    boottimeUsec: Math.round(uptime() * 1_000_000),
  };
}

/** Without the newline at its end; empty if it cannot be read. */
function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return '';
  }
}
