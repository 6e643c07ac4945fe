/** The largest packet that is accepted from either side, in bytes. */
export const maxPacketBytes = 1 << 20;

/** The largest packet of a caller without root, in bytes: room for a few paths and a hundred mounts. */
export const maxUserPacketBytes = 64 * 1024;
