/**
 * The messages of proto/rpc.proto under shorter names.
 *
 * A message is a plain object: absent optional fields are undefined or null, absent repeated fields undefined or empty.
 * Descriptor numbers and process ids in it belong to the sender.
 */

import type {
  criu_features,
  criu_notify,
  criu_opts,
  criu_page_server_info,
  criu_req,
  criu_resp,
  criu_version,
} from './generated/rpc.js';
import { criu_req_type as ReqType } from './generated/rpc.js';

export {
  criu_cg_mode as CgMode,
  criu_image_io_mode as ImageIoMode,
  criu_network_lock_method as NetworkLock,
  criu_pre_dump_mode as PreDumpMode,
} from './generated/rpc.js';
export { ReqType };

export type CriuReq = criu_req.$Properties;
export type CriuOpts = criu_opts.$Properties;
export type CriuResp = criu_resp.$Properties;
export type CriuNotify = criu_notify.$Properties;
export type CriuFeatures = criu_features.$Properties;
export type CriuPageServerInfo = criu_page_server_info.$Properties;
export type CriuVersion = criu_version.$Properties;

/** CRIU's only message with a descriptor: the master of a terminal whose holder was not restored (tty.c). */
export function isTerminalNotification({ type, notify }: CriuResp): boolean {
  return type === ReqType.NOTIFY && notify?.script === 'orphan-pts-master';
}

/** The name of a request type in rpc.proto, or `type 99` for an unknown number. */
export function reqTypeName(type: number): string {
  return isReqType(type) ? ReqType[type] : `type ${type}`;
}

/** Tells whether rpc.proto has this number. That includes EMPTY and NOTIFY, although a caller may not begin with them. */
export function isReqType(type: number): type is ReqType {
  return typeof ReqType[type] === 'string';
}
