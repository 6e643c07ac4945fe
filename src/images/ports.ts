/** Ports that sockets of this network namespace have, from /proc/net. */
import { readFileSync } from 'node:fs';
import { addressText, type InternetSocket } from './addresses.ts';

interface Holder {
  readonly anyAddress: boolean;
  /** As in the words of a socket: 127.0.0.1, [::1]. */
  readonly address: string;
  readonly uid: number;
}

const listening = 0x0a;
const tables: Readonly<Record<string, readonly string[]>> = {
  TCP: ['tcp', 'tcp6'],
  UDP: ['udp', 'udp6'],
};

export class PortsInUse {
  readonly #read = new Map<string, ReadonlyMap<number, readonly Holder[]>>();

  /** @returns the uid of a socket that keeps this one from its port. */
  holderOf({ protocol, port, local }: InternetSocket): number | undefined {
    const address = local.slice(0, local.lastIndexOf(':'));
    const any = isAny(address);
    const holders = this.#of(protocol).get(port) ?? [];
    return holders.find((holder) => any || holder.anyAddress || holder.address === address)?.uid;
  }

  #of(protocol: string): ReadonlyMap<number, readonly Holder[]> {
    const known = this.#read.get(protocol);
    if (known) return known;
    const found = new Map<number, Holder[]>();
    for (const table of tables[protocol] ?? []) {
      for (const line of linesOf(`/proc/net/${table}`)) {
        const holder = parse(line, protocol === 'TCP');
        if (holder) found.set(holder.port, [...(found.get(holder.port) ?? []), holder]);
      }
    }
    this.#read.set(protocol, found);
    return found;
  }
}

function linesOf(path: string): string[] {
  try {
    return readFileSync(path, 'utf8').split('\n').slice(1);
  } catch {
    return [];
  }
}

function parse(line: string, onlyListening: boolean): (Holder & { readonly port: number }) | undefined {
  const [, local = '', , state = '', , , , uid] = line.trim().split(/\s+/);
  const [digits = '', port] = local.split(':');
  if (port === undefined || (onlyListening && Number.parseInt(state, 16) !== listening)) return undefined;
  const address = addressOf(digits);
  return { port: Number.parseInt(port, 16), anyAddress: isAny(address), address, uid: Number(uid) };
}

/** The kernel prints words of the address as numbers of this machine. */
function addressOf(digits: string): string {
  const bytes = Buffer.alloc(digits.length / 2);
  for (let at = 0; at + 8 <= digits.length; at += 8)
    bytes.writeUInt32LE(Number.parseInt(digits.slice(at, at + 8), 16), at / 2);
  return addressText(bytes);
}

function isAny(address: string): boolean {
  return address === '0.0.0.0' || address === '[::]';
}
