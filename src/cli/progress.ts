/** A bar on the terminal, for as long as CRIU works: how many bytes have gone where they go, and what CRIU is at. */
import { Presets, SingleBar } from 'cli-progress';
import { inBytes } from './words.ts';

const intervalMs = 100;

/** What CRIU does after a notification, in words. */
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

  /** @param total how many bytes `measure` may come to. */
  constructor(verb: string, total: number, measure: () => number) {
    this.#total = total;
    this.#measure = measure;
    this.#bar = new SingleBar(
      {
        format: `${verb} |{bar}| {percentage}% of {amount}  {phase}`,
        stream: process.stderr,
        hideCursor: true,
        // Phases are short; a frame that is like the one before is not drawn.
        fps: 60,
        barsize: 30,
      },
      Presets.shades_classic,
    );
    // A bar needs something to be a part of.
    this.#bar.start(Math.max(total, 1), 0, { phase: 'asking', amount: inBytes(total) });
    this.#timer = setInterval(() => this.#update(), intervalMs);
  }

  /** CRIU has announced a step. */
  at(script: string): void {
    this.#bar.update({ phase: phases[script] ?? script });
    this.#update();
  }

  /** @param bytes what it came to in the end, where it was a success. */
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
    // The memory of a tree changes until it is frozen, so that more may be written than was measured.
    const now = this.#measure();
    if (now > this.#total) {
      this.#total = now;
      this.#bar.setTotal(now);
    }
    this.#bar.update(now, { amount: inBytes(this.#total) });
  }
}
