/** The first four bytes of an image, little-endian: IMG_COMMON_MAGIC and IMG_SERVICE_MAGIC (magic.h).. */
export const headMagics: readonly number[] = [0x54564319, 0x55105940];
