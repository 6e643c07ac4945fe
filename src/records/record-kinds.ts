/**
 * The kinds of records, each with the MESSAGE_ID under which units/criu.catalog explains it (journalctl --catalog). An id never
 * changes and is never reused, because people search for it.
 */
export const messageIds = {
  /** A request was authorized, and work for it begins. */
  accepted: '92be71a9a43e47518765350440b1396e',
  /** A session of an earlier start of the service goes on. */
  resumed: '9c5fc585b41e40f9af7522ba9861247c',
  /** A session of an earlier start could not go on. */
  notResumed: 'adc7b2d2909d49c292eee4160b9fcf9b',
  /** A restore met a pid that the service itself held. */
  triedAgain: '4f6c2be1a3d84c0f9e0a6b1d7c52e893',
  done: '7d9525304ff74a6cb0953598229bb564',
  failed: 'd9ada98df0eb4989ab8af4c87ea94930',
  refused: '2934f6699a18430f8114d2a9ac018653',
  /** A connection that never became a session. */
  turnedAway: '27bc6ae6778e48a995d7ed267f5161a9',
  /** A request was cut off, and its tree runs. */
  treeRuns: '6a4dad33a8fc4bcb98c1451d85806569',
  /** A request was cut off, and its tree is stopped, traced or gone. */
  treeHeld: '59d653bf9bb94106a147e88eabe129ab',
  /** A leftover of an engine, which held its capability, was killed. */
  endedLeft: '2841b9307ba54ef6b57c97ed870add78',
  /** Records were dropped. */
  dropped: '1b7853c92762430fa8d14cb1b5d7ef3b',
  /** A failure of the service itself. */
  unexpected: 'd37907faef084921950c2a144de447a0',
} as const;
