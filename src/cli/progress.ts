/** A progress bar on the terminal while CRIU works: the bytes written or restored so far, and CRIU's current step. */
import { Presets, SingleBar } from 'cli-progress';
import { inBytes } from './words.ts';

const intervalMs = 100;

/** CRIU's work after each notification, in words. */
const phases: Readonly<Record<string, string>> = {
  'pre-dump': 'freezing',
  'query-ext-files': 'looking for files',
  'network-lock': 'locking the network',
  'post-dump': 'finishing',
  'network-unlock': 'unlocking the network',
  'pre-restore': 'starting',
  'setup-namespaces': 'making namespaces',
  'post-setup-namespaces': 'reading memory',
  'post-restore': 'restored',
  'pre-resume': 'letting it run',
  'post-resume': 'running',
};

export class Progress {
  readonly #bar: SingleBar;
  readonly #measure: () => number;
  #total: number;
  readonly #timer: NodeJS.Timeout;

  /** @param total the largest value that `measure` may return. */
  constructor(verb: string, total: number, measure: () => number) {
    this.#total = total;
    this.#measure = measure;
    this.#bar = new SingleBar(
      {
        format: `${verb} |{bar}| {percentage}% of {amount}  {phase}`,
        stream: process.stderr,
        hideCursor: true,
        // Phases are short; an unchanged frame is not drawn again.
        fps: 60,
        barsize: 30,
      },
      Presets.shades_classic,
    );
    // The bar needs a total above 0.
    this.#bar.start(Math.max(total, 1), 0, { phase: 'asking', amount: inBytes(total) });
    this.#timer = setInterval(() => this.#update(), intervalMs);
  }

  /** CRIU has announced a step. */
  at(script: string): void {
    this.#bar.update({ phase: phases[script] ?? script });
    this.#update();
  }

  /** @param bytes the final value; absent after a failure. */
  end(bytes?: number): void {
    clearInterval(this.#timer);
    if (bytes === undefined) this.#bar.update({ phase: 'failed' });
    else {
      this.#bar.setTotal(Math.max(bytes, 1));
      this.#bar.update(Math.max(bytes, 1), { phase: 'done', amount: inBytes(bytes) });
    }
    this.#bar.stop();
  }

  #update(): void {
    // The memory of a tree changes until the tree is frozen, so the images may become larger than the first measurement.
    const now = this.#measure();
    if (now > this.#total) {
      this.#total = now;
      this.#bar.setTotal(now);
    }
    this.#bar.update(now, { amount: inBytes(this.#total) });
  }
}
