/** Options of criu(8) that CRIU’s RPC lacks, with a sentence for users that try them. */
import { names } from './builders.ts';
import type { OptionRow } from './row.ts';

const notInRpc = 'CRIU’s RPC has no such option';

function impossible(spelling: string, takesValue: boolean, sentence: string): OptionRow {
  return {
    ...names(spelling),
    ...(takesValue ? { value: { name: 'value', completion: 'nothing' as const } } : {}),
    verbs: ['dump', 'pre-dump', 'restore', 'check', 'page-server'],
    group: 'criuctl',
    help: '',
    impossible: sentence,
  };
}

export const impossibleOptions: readonly OptionRow[] = [
  impossible('-S, --restore-sibling', false, 'the restored process would become a child of the service'),
  impossible('--exec-cmd', false, 'restore first, then run the command'),
  impossible('-L, --libdir', true, `${notInRpc}: plugins are found where CRIU was installed`),
  impossible('--log-pid', false, notInRpc),
  impossible('--stream', false, notInRpc),
  impossible('--file-validation', true, `${notInRpc}: configure it in /etc/criu/default.conf`),
  impossible('--ghost-fiemap', false, `${notInRpc}: configure it in /etc/criu/default.conf`),
  impossible('--allow-uprobes', false, `${notInRpc}: configure it in /etc/criu/default.conf`),
  impossible(
    '--config',
    true,
    'a configuration file runs programs: use /etc/criu/default.conf, or criu itself',
  ),
  impossible('--close', true, notInRpc),
  impossible('--ps-socket', true, 'name the page server by --address and --port'),
  impossible('--status-fd', true, 'criuctl returns when it is ready'),
  impossible('--feature', true, 'use criuctl features, or criu check --feature'),
  impossible('--extra', false, 'use criu check --extra'),
  impossible('--experimental', false, 'use criu check --experimental'),
  impossible('--all', false, 'use criu check --all'),
  impossible('--unprivileged', false, 'the service sets it by itself for users without root'),
];
