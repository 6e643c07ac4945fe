import type { AuthorizedRequest, Decision } from '../../../../src/policy/authorize.ts';
import { requestTable } from '../../../../src/policy/request-table.ts';
import { ReqType } from '../../../../src/protocol/messages.ts';
import type { Decided, Input } from '../../../../src/session/machine/states.ts';

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

/** The input for a decision, with any engine: the machine does not look at it. */
export function decided(decision: Decision): Extract<Input, { on: 'decided' }> {
  const engine = { is: 'probe' } as const;
  const isServed = decision.kind === 'relay' || decision.kind === 'hand-over';
  const withEngine: Decided = isServed ? { ...decision, engine } : decision;
  return { on: 'decided', decision: withEngine };
}
