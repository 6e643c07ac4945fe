/** The space that compressed images of pages take, of a directory. */
export interface CompressedSpace {
  readonly files: number;
  readonly bytes: number;
  /** Of the pages, as the files tell it. */
  readonly expanded: number;
}
