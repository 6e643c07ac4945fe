/**
 * A restore that meets a pid of this service's own: the service gives the pid up, and the request is judged and tried once more.
 * Pure.
 *
 *     working, restoring or resuming -> judging -> starting -> ...
 */
import { constants as os } from 'node:os';
import type { AuthorizedRequest } from '../../policy/authorize.ts';
import type { Action, OwnPid, State, Step } from './states.ts';
import { failure } from './steps.ts';

const { ECANCELED } = os.errno;

type Judging = Extract<State, { at: 'judging' }>;

/** @returns undefined if the failure stands. */
export function tryAgain(request: AuthorizedRequest, ownPid: OwnPid | undefined): Step | undefined {
  if (!ownPid?.givesWay || request.isSecondTry) return undefined;
  const state: Judging = {
    at: 'judging',
    phase: 'first',
    engine: false,
    packet: 'ours',
    again: request,
  };
  return {
    state,
    // Save first (write-ahead): the next start must not take the end of this engine for the end of the request.
    actions: [
      { do: 'save', state },
      { do: 'abandon-engine' },
      {
        do: 'give-way',
        pid: ownPid.pid,
        reason: `process ${ownPid.pid}, which it needs, ${isHolder(ownPid)}`,
      },
    ],
  };
}

/** The request for an engine, after it was judged again. */
export function asSecondTry(state: State, request: AuthorizedRequest): AuthorizedRequest {
  return 'again' in state ? { ...request, isSecondTry: true } : request;
}

/** The caller has the notification from the first try. It comes before any process is made; all others name processes of a try. */
export function isToldAlready(request: AuthorizedRequest, script: string): boolean {
  return request.isSecondTry === true && script === 'pre-restore';
}

/** The second half of a sentence for the caller, if the pid cannot be given up. */
export function hintOf(ownPid: OwnPid | undefined): string | undefined {
  if (!ownPid || ownPid.holder === 'gone') return undefined;
  const remedy =
    ownPid.holder === 'thread'
      ? 'as root: systemctl restart criu.service, and restore again'
      : 'restore again when it has ended';
  return `process ${ownPid.pid} ${isHolder(ownPid)}: ${remedy}`;
}

function isHolder({ holder }: OwnPid): string {
  switch (holder) {
    case 'thread':
      return 'is a thread of criu-service itself';
    case 'engine':
      return 'is an engine of criu-service';
    case 'gone':
      return 'has ended meanwhile';
  }
}

/** The reply and the record if the caller leaves before the second try has begun. */
export function leftBetweenTries({ again }: Judging): Action[] {
  return again ? failure(again, ECANCELED, `${again.name}: the caller left before it was tried again`) : [];
}
