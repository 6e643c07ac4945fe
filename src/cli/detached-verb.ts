/** The hidden verb of a criuctl that waits until its parent, whose pid and command line follow, has ended. */
export const detachedVerb = 'detached';
