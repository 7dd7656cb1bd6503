/** `paceline completion`: prints the script by which a shell completes command lines. The script calls the hidden command `complete`. */
import { Argument } from "commander";
import type { DefineCommand } from "../options.js";
import { EXIT, print } from "../output.js";

const SHELLS = ["bash", "zsh", "fish"] as const;

export const completion: DefineCommand = (program, action) => {
  program
    .command("completion")
    .description("print the script that completes commands, options and names in a shell")
    .addArgument(new Argument("<shell>", "the shell").choices(SHELLS))
    .action(
      action(async (shell: (typeof SHELLS)[number]) => {
        print(SCRIPTS[shell].trim());
        return EXIT.done;
      }),
    );
};

export const complete: DefineCommand = (program, action) => {
  program
    .command("complete", { hidden: true })
    .argument("[words...]", "after --: the words after paceline, the last one unfinished")
    .action(
      action(async () => {
        // Commander removes the first `--` from the words.
        const dashes = process.argv.indexOf("--");
        const { candidatesFor, namesOf } = await import("../complete.js");
        const given = dashes < 0 ? [] : process.argv.slice(dashes + 1);
        const { words, wanted, fleet } = candidatesFor(program, given);
        if (wanted === "pools" || wanted === "instances" || wanted === "names") {
          const current = given.at(-1) ?? "";
          const names = await namesOf(fleet, wanted);
          words.push(...names.filter(({ text }) => text.startsWith(current)));
        }
        const lines = words.map(({ text, description }) => `${text}\t${description}\n`);
        if (wanted === "files" || wanted === "folders") lines.push(`:${wanted}\n`);
        // A fleet that does not respond must not block the shell.
        await new Promise<void>((resolve) => process.stdout.write(lines.join(""), () => resolve()));
        process.exit(EXIT.done);
      }),
    );
};

const BASH = `
# Completes paceline in bash. In ~/.bashrc: eval "$(paceline completion bash)"
_paceline() {
  local program=\${COMP_WORDS[0]/#\\~\\//$HOME/} current=\${COMP_WORDS[COMP_CWORD]} words=() count=0 text
  local i word before=
  # Readline splits --name=value at the sign.
  for ((i = 1; i <= COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    if [[ $count -gt 0 && ( $word == = || $before == = ) && \${words[count - 1]} == --* ]]; then
      words[count - 1]+=$word
    else
      words[count++]=$word
    fi
    before=$word
  done
  [[ $current == = ]] && current=
  COMPREPLY=()
  while IFS= read -r text; do
    case $text in
      :files) compopt -o default 2>/dev/null || while IFS= read -r text; do COMPREPLY+=("$text"); done < <(compgen -f -- "$current") ;;
      :folders) compopt -o dirnames 2>/dev/null || while IFS= read -r text; do COMPREPLY+=("$text"); done < <(compgen -d -- "$current") ;;
      *)
        text=\${text%%$'\\t'*}
        # Only what follows the sign is replaced.
        [[ $text == --*=* && $COMP_WORDBREAKS == *=* ]] && text=\${text#*=}
        COMPREPLY+=("$text")
        ;;
    esac
  done < <("$program" complete -- "\${words[@]}" 2>/dev/null)
}
complete -F _paceline paceline
`;

const ZSH = `
#compdef paceline
# Completes paceline in zsh. In a folder of $fpath: paceline completion zsh > _paceline; or in ~/.zshrc after compinit:
# eval "$(paceline completion zsh)"
_paceline() {
  local line text tab=$'\\t'
  local -a candidates
  local -a asked=("\${(@)words[2,CURRENT]}")
  local prefix=
  compset -P '--*=' && prefix=yes
  for line in "\${(@f)$("\${(Q)words[1]}" complete -- "\${asked[@]}" 2>/dev/null)}"; do
    case $line in
      '') ;;
      :files) _files; return ;;
      :folders) _files -/; return ;;
      *)
        text=\${line%%$tab*}
        [[ -n $prefix ]] && text=\${text#*=}
        candidates+=("\${text//:/\\\\:}:\${line#*$tab}")
        ;;
    esac
  done
  (( $#candidates )) && _describe -V paceline candidates
}
if [[ \${funcstack[1]} == _paceline ]]; then _paceline "$@"; else compdef _paceline paceline; fi
`;

const FISH = `
# Completes paceline in fish: paceline completion fish > ~/.config/fish/completions/paceline.fish
function __paceline_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l program $words[1]
    set -e words[1]
    for line in ($program complete -- $words "$current" 2>/dev/null)
        switch $line
            case ':files'
                __fish_complete_path "$current"
            case ':folders'
                __fish_complete_directories "$current"
            case '*'
                printf '%s\\n' $line
        end
    end
end
complete -c paceline -f -a '(__paceline_complete)'
`;

const SCRIPTS = { bash: BASH, zsh: ZSH, fish: FISH };
