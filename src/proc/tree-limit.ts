/** More threads than a machine runs for one user. Whoever forks faster than they are read would never be done with. */
export const maxTreeThreads = 100_000;
