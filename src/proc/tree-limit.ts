/**
 * More threads than a machine runs for one user. Without this limit, a user that forks faster than the reader reads would keep it
 * busy for ever.
 */
export const maxTreeThreads = 100_000;
