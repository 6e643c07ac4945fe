/** The hidden verb that a holder of a terminal is started by. */
export const holderVerb = 'hold-terminal';
