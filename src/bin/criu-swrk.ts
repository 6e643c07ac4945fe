#!/usr/bin/env node
/** `criu swrk FD` for programs that start it: the dialog on FD is with the service. The program criu beside it executes this. */
import { connect } from '../client/connection.ts';
import { defaultAddress } from '../client/default-address.ts';
import { adoptConnection, ClientEnd } from '../drop-in/client-end.ts';
import { Dialog } from '../drop-in/dialog.ts';
import { Peer } from '../drop-in/peer.ts';
import { leave } from '../native/leave.ts';
import { sanitize } from '../systemd/log.ts';

main().then(leave, (error) => {
  process.stderr.write(`criu: ${sanitize((error as Error).message)}\n`);
  return leave(1);
});

async function main(): Promise<number> {
  const [verb, fd = '', ...more] = process.argv.slice(2);
  if (verb !== 'swrk' || !/^\d+$/.test(fd) || more.length > 0)
    throw new Error('usage: criu swrk FD, where FD is one end of a SEQPACKET socket pair');
  const address = process.env.CRIU_SERVICE || defaultAddress;
  const socket = adoptConnection(Number(fd));
  const failure = await new Dialog(new ClientEnd(socket), new Peer(socket), address, () =>
    connect(address),
  ).run();
  if (failure === undefined) return 0;
  throw new Error(failure);
}
