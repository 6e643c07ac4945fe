/** A fault in a file: what CRIU could not read, or what this reader refuses to. */
export class ImageError extends Error {
  override readonly name = 'ImageError';
  readonly file: string;
  /** Bytes from the beginning of the file; absent if the fault is of the file itself. */
  readonly offset: number | undefined;
  /** Completes a sentence that begins with the file. */
  readonly why: string;

  /** Unread: this reader refuses what CRIU might read. */
  readonly is: 'broken' | 'unread';

  constructor(file: string, offset: number | undefined, why: string, is: 'broken' | 'unread' = 'broken') {
    super(offset === undefined ? `${file} ${why}` : `${file} at byte ${offset}: ${why}`);
    this.file = file;
    this.offset = offset;
    this.why = why;
    this.is = is;
  }
}
