/** Every attack, by theme. */
import './criu-cases.test.ts';
import './targets.test.ts';
import './planted.test.ts';
import './callers.test.ts';
import './sandboxes.test.ts';
import './options.test.ts';
import './encodings.test.ts';
import './environment.test.ts';
import './engines.test.ts';
import './restore.test.ts';
import './restore-engines.test.ts';
import './restore-escapes.test.ts';
import './takeover.test.ts';
import './innocents.test.ts';
import './lies.test.ts';
import './blocking.test.ts';
import './crowds.test.ts';
