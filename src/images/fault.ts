/** A fault of an image, or of another file in the directory. */
export interface Fault {
  readonly file: string;
  readonly offset: number | undefined;
  readonly why: string;
  readonly is: 'broken' | 'unread';
}
