import type { AuthorizedRequest } from '../../../../src/policy/authorize.ts';
import { requestTable } from '../../../../src/policy/request-table.ts';
import { ReqType } from '../../../../src/protocol/messages.ts';

/** A request of root, as authorized by the policy. */
export function authorized(type: number, keepOpen = false): AuthorizedRequest {
  const { isRound, failsWithoutErrno } = requestTable.get(type) ?? {};
  return {
    type,
    name: ReqType[type]!,
    answeredAs: type,
    keepOpen,
    engine: 'privileged',
    notifies: false,
    ...(isRound ? { isRound } : {}),
    ...(failsWithoutErrno ? { failsWithoutErrno } : {}),
  };
}
