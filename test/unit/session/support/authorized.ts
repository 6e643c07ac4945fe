import type { AuthorizedRequest } from '../../../../src/policy/authorize.ts';
import { ReqType } from '../../../../src/protocol/messages.ts';

/** A request of root, as authorized by the policy. */
export function authorized(type: number, keepOpen = false): AuthorizedRequest {
  return { type, name: ReqType[type]!, answeredAs: type, keepOpen, engine: 'privileged', notifies: false };
}
