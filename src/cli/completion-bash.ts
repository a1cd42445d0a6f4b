import { type CompletionFlag, type CompletionNode, aliasesOf, valueWordsOf } from "./completion-model.ts";

const quoted = (words: readonly string[]): string => words.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(" ");

function valueAction({ choices, completes }: Pick<CompletionFlag, "choices" | "completes">): string {
  if (choices.length > 0) return `_transporter_words ${quoted(choices)}`;
  switch (completes) {
    case "file":
      return "_transporter_paths -f";
    case "dir":
      return "_transporter_paths -d";
    case "agent":
    case "event":
    case "context":
      return `_transporter_asked ${completes}`;
    case undefined:
      return ":";
  }
}

/** A completion script for bash 3.2 and later, without the bash-completion package. */
export function bashScript(nodes: readonly CompletionNode[]): string {
  const walk = [
    ...aliasesOf(nodes).map(([from, to]) => `      '${from}') path='${to}' ;;`),
    ...nodes.filter((node) => node.path !== "").map((node) => `      '${node.path}') path='${node.path}' ;;`),
  ];
  const valueFlags = nodes.map((node) => {
    const words = valueWordsOf(node);
    return words.length === 0 ? "" : `    '${node.path}') case $1 in ${words.join("|")}) return 0 ;; esac ;;`;
  });
  const values = nodes.flatMap((node) =>
    node.flags
      .filter((flag) => flag.takesValue)
      .map(
        (flag) =>
          `    '${node.path} --${flag.name}'${flag.short === undefined ? "" : `|'${node.path} -${flag.short}'`}) ${valueAction(flag)} ;;`,
      ),
  );
  const words = nodes.map(
    (node) => `    '${node.path}') _transporter_words ${quoted([...node.children.flatMap((child) => child.names), ...node.choices])} ;;`,
  );
  const positionals = nodes
    .filter((node) => node.completes !== undefined)
    .map((node) => `    '${node.path}') ${valueAction({ choices: [], completes: node.completes })} ;;`);
  const flags = nodes.map(
    (node) =>
      `    '${node.path}') _transporter_words ${quoted(node.flags.flatMap((flag) => [`--${flag.name}`, ...(flag.short === undefined ? [] : [`-${flag.short}`])]))} ;;`,
  );
  return `# bash completion for transporter. Load it with: source <(transporter completion bash)

# Matches by hand: compgen -W would expand what it is given, and the names of agents come from strangers.
_transporter_words() {
  local word
  for word in "$@"; do
    if [[ $word == "$cur"* ]]; then COMPREPLY+=("$word"); fi
  done
}

_transporter_paths() {
  local word
  while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen "$1" -- "$cur")
  compopt -o filenames 2>/dev/null || true
}

_transporter_asked() {
  local word
  while IFS= read -r word; do
    word=\${word#*/}
    if [[ $word == "$cur"* ]]; then COMPREPLY+=("$(printf %q "$word")"); fi
  done < <(
    case $1 in
      agent) transporter get agents -o name ;;
      event) transporter get events -o name ;;
      context) transporter context list -o name ;;
    esac 2>/dev/null
  )
}

_transporter_takes_value() {
  case $path in
${valueFlags.filter((line) => line !== "").join("\n")}
  esac
  return 1
}

_transporter_offers() {
  local path='' flag='' index=1 word
  while ((index < COMP_CWORD)); do
    word=\${COMP_WORDS[index]}
    flag=''
    case $word in
    -*)
      if _transporter_takes_value "$word"; then
        if [[ \${COMP_WORDS[index + 1]} == '=' ]]; then ((index++)); fi
        flag=$word
        ((index++))
      fi
      ;;
    *)
      case "\${path:+$path }$word" in
${walk.join("\n")}
      esac
      ;;
    esac
    ((index++))
  done
  if [[ $cur == '=' ]]; then cur=''; fi
  if [[ -n $flag ]] && ((index > COMP_CWORD)); then
    case "$path $flag" in
${values.join("\n")}
    esac
    return 0
  fi
  if [[ $cur == -* ]]; then
    case $path in
${flags.join("\n")}
    esac
    return 0
  fi
  case $path in
${words.join("\n")}
  esac
  case $path in
${positionals.join("\n")}
  esac
  return 0
}

_transporter() {
  local cur=\${COMP_WORDS[COMP_CWORD]} before=''
  COMPREPLY=()
  # Readline cuts a word at its colons and replaces the last piece alone: the rest goes before it to be compared, and off what is offered.
  if ((COMP_CWORD > 1)) && [[ $cur == ':' ]]; then
    before=\${COMP_WORDS[COMP_CWORD - 1]}:
    cur=''
  elif ((COMP_CWORD > 2)) && [[ \${COMP_WORDS[COMP_CWORD - 1]} == ':' ]]; then
    before=\${COMP_WORDS[COMP_CWORD - 2]}:
  fi
  cur=$before$cur
  _transporter_offers
  if [[ -n $before ]]; then COMPREPLY=("\${COMPREPLY[@]#"$before"}"); fi
  return 0
}

complete -F _transporter transporter
`;
}
