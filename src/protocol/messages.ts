/**
 * The messages of proto/rpc.proto under the names that our code uses.
 *
 * A message is a plain shape: absent optional fields are undefined or null, absent repeated ones undefined or empty.
 * File descriptor numbers and process ids in it are the sender's, never ours.
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

/** CRIU's only message that carries a descriptor: the master of a terminal that no restored process has (tty.c). */
export function isTerminalNotification({ type, notify }: CriuResp): boolean {
  return type === ReqType.NOTIFY && notify?.script === 'orphan-pts-master';
}

/** The name that rpc.proto gives to a request type, `type 99` for a number that it does not know. */
export function reqTypeName(type: number): string {
  return isReqType(type) ? ReqType[type] : `type ${type}`;
}

/** Whether rpc.proto knows this number. EMPTY and NOTIFY are known, though nobody may begin with them. */
export function isReqType(type: number): type is ReqType {
  return typeof ReqType[type] === 'string';
}
