/** A request that the drop-in answers by itself: the sentence and the errno of the reply. */
export class Refused extends Error {
  override name = 'Refused';
  readonly errno: number;

  constructor(errno: number, sentence: string) {
    super(sentence);
    this.errno = errno;
  }
}
