/** The largest packet that is accepted from either side, in bytes. */
export const maxPacketBytes = 1 << 20;
