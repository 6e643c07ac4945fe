/**
 * Completions for bash, zsh and fish, made from the option table at build time. The scripts run without criuctl: starting Node at
 * each press of the tab key would be slow.
 */
import { type shells, verbTexts } from './command-line.ts';
import { type Completion, type OptionRow, type Verb, verbs } from './options/row.ts';
import { optionsOf, optionTable } from './options/table.ts';

export function completion(shell: string): string {
  switch (shell as (typeof shells)[number]) {
    case 'bash':
      return bash();
    case 'zsh':
      return zsh();
    case 'fish':
      return fish();
  }
}

/** The options that completion offers. */
function offered(verb: Verb): readonly OptionRow[] {
  return optionsOf(verb).filter(({ impossible }) => impossible === undefined);
}

function takesPid(verb: Verb): boolean {
  return verbTexts[verb].argument?.[0] === '[pid]';
}

/** The names of a user's jobs are names of directories. */
const jobNames = '$(ls ~/.local/state/criu 2>/dev/null)';

function takesJob(verb: Verb): boolean {
  return /^<(name|target)>$/.test(verbTexts[verb].argument?.[0] ?? '');
}

/** Verbs whose action is followed by a path, and those actions. */
const verbsWithPath = verbs.filter((verb) => verbTexts[verb].path);
const actionsWithPath = verbsWithPath.flatMap((verb) => verbTexts[verb].choices ?? []);

function spellings({ long, short }: OptionRow): string[] {
  return [...(short === undefined ? [] : [`-${short}`]), `--${long}`];
}

/**
 * Values depend on the option alone, not on the verb. An optional value is attached, so the next word is not completed as its
 * value.
 */
function bash(): string {
  const words = verbs.map((verb) => {
    const options = offered(verb).flatMap(spellings).join(' ');
    const pids = takesPid(verb) ? ' $(compgen -G "/proc/[0-9]*" | sed "s|/proc/||")' : '';
    const choices = verbTexts[verb].choices?.join(' ') ?? '';
    const jobs = takesJob(verb) ? jobNames : '';
    return `    ${verb}) words="${choices}${pids}${jobs}"; options="${options} --help" ;;`;
  });
  const values = optionTable
    .filter(({ value, impossible }) => value && !value.optional && impossible === undefined)
    .map((row) => `    ${spellings(row).join(' | ')}) ${bashValues(row.value!.completion)} ;;`);
  return `# bash completion for criuctl, made from its option table
_criuctl() {
  local cur prev verb words options word
  cur=\${COMP_WORDS[COMP_CWORD]}
  prev=\${COMP_WORDS[COMP_CWORD - 1]}
  COMPREPLY=()
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case $word in -*) ;; *) verb=$word; break ;; esac
  done
  if [[ -z $verb ]]; then
    COMPREPLY=($(compgen -W "${verbs.join(' ')} --help --version" -- "$cur"))
    return
  fi
  case $prev in
${[...new Set(values)].join('\n')}
  esac
  case $verb in
${words.join('\n')}
    *) return ;;
  esac
  if [[ $cur == -* ]]; then words=$options
  elif [[ " ${verbsWithPath.join(' ')} " == *" $verb "* && " \${COMP_WORDS[*]:2:COMP_CWORD-2} " =~ " "(${actionsWithPath.join('|')})" " ]]; then
    compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return
  fi
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -F _criuctl criuctl
`;
}

function bashValues(values: Completion): string {
  switch (values) {
    case 'directory':
      return 'compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$cur"); return';
    case 'file':
      return 'compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return';
    case 'pid':
      return 'COMPREPLY=($(compgen -W "$(compgen -G "/proc/[0-9]*" | sed "s|/proc/||")" -- "$cur")); return';
    case 'nothing':
      return 'return';
    default:
      return `COMPREPLY=($(compgen -W "${values.join(' ')}" -- "$cur")); return`;
  }
}

function zsh(): string {
  const cases = verbs.map((verb) => {
    const { argument, choices, path, other, rest } = verbTexts[verb];
    const specs = offered(verb).map((row) => `      ${zshOption(row)}`);
    const words = choices
      ? `"1:action:(${choices.join(' ')})"`
      : takesJob(verb)
        ? '"1:job:_files -W ~/.local/state/criu -/"'
        : argument
          ? '"1:pid:_pids"'
          : '';
    return [
      `    (${verb})`,
      '      _arguments -s -S \\',
      ...[
        ...specs,
        ...(words ? [`      ${words}`] : []),
        ...(path ? ['      "2:path:_files"'] : []),
        ...(other ? ['      "3:path:_files"'] : []),
        ...(rest ? ['      "*::command:_normal"'] : []),
      ]
        .join(' \\\n')
        .split('\n'),
      '      ;;',
    ].join('\n');
  });
  const list = verbs.map((verb) => `    ${zshQuote(`${verb}:${verbTexts[verb].summary}`)}`);
  return `#compdef criuctl
# zsh completion for criuctl, made from its option table
_criuctl() {
  local context state state_descr line
  typeset -A opt_args
  local -a verbs
  verbs=(
${list.join('\n')}
  )
  _arguments -C '(-h --help)'{-h,--help}'[show help]' '(-V --version)'{-V,--version}'[show the version]' '1:verb:->verb' '*::words:->words'
  case $state in
    (verb) _describe verb verbs; return ;;
  esac
  case $line[1] in
${cases.join('\n')}
  esac
}
_criuctl "$@"
`;
}

function zshOption(row: OptionRow): string {
  const help = row.help.replace(/[[\]:]/g, '\\$&');
  const once = row.request && /\b(list|resource)\b/.test(row.value?.name ?? '') ? '*' : '';
  return spellings(row)
    .map((spelling) => {
      const { value } = row;
      if (!value) return zshQuote(`${once}${spelling}[${help}]`);
      // "-" after the name means that the value is attached; "=-" means the same for long names.
      const attach = value.optional
        ? spelling.startsWith('--')
          ? '=-'
          : '-'
        : spelling.startsWith('--')
          ? '='
          : '+';
      const name = value.name.replace(/[[\]:]/g, '\\$&');
      return zshQuote(
        `${once}${spelling}${attach}[${help}]${value.optional ? '::' : ':'}${name}:${zshValues(value.completion)}`,
      );
    })
    .join(' ');
}

function zshValues(values: Completion): string {
  switch (values) {
    case 'directory':
      return '_files -/';
    case 'file':
      return '_files';
    case 'pid':
      return '_pids';
    case 'nothing':
      return '';
    default:
      return `(${values.join(' ')})`;
  }
}

function zshQuote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function fish(): string {
  const lines = ['# fish completion for criuctl, made from its option table', 'complete -c criuctl -f'];
  for (const verb of verbs) {
    const { summary, choices, path } = verbTexts[verb];
    lines.push(`complete -c criuctl -n __fish_use_subcommand -a ${verb} -d ${fishQuote(summary)}`);
    const here = `-n '__fish_seen_subcommand_from ${verb}'`;
    if (choices) lines.push(`complete -c criuctl ${here} -a '${choices.join(' ')}'`);
    if (path) lines.push(`complete -c criuctl ${here} -F`);
    if (takesJob(verb)) lines.push(`complete -c criuctl ${here} -a '(ls ~/.local/state/criu 2>/dev/null)'`);
    if (takesPid(verb)) lines.push(`complete -c criuctl ${here} -a '(__fish_complete_pids)'`);
    for (const { long, short, value, help } of offered(verb)) {
      const names = `${short === undefined ? '' : `-s ${short} `}-l ${long}`;
      const values = value && !value.optional ? ` ${fishValues(value.completion)}` : '';
      lines.push(`complete -c criuctl ${here} ${names}${values} -d ${fishQuote(help)}`);
    }
  }
  return `${lines.join('\n')}\n`;
}

function fishValues(values: Completion): string {
  switch (values) {
    case 'directory':
      return "-x -a '(__fish_complete_directories)'";
    case 'file':
      return '-r -F';
    case 'pid':
      return "-x -a '(__fish_complete_pids)'";
    case 'nothing':
      return '-x';
    default:
      return `-x -a '${values.join(' ')}'`;
  }
}

function fishQuote(text: string): string {
  return `'${text.replaceAll("'", "\\'")}'`;
}
