"""The parser of the commands whose options are no keys of a configuration: `check`, `bench`, `configs`."""

import argparse
import re

from torchbp.cli.layout import page
from torchbp.printing import complain, did_you_mean


class Parser(argparse.ArgumentParser):
    """argparse's, with an error in one line and the help page of all commands. `add_argument` shows a default itself:
    `help` says what the option is, and the default follows unless it is None, False or empty."""

    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, allow_abbrev=False, **settings)

    def error(self, message):
        complain(self._with_remedy(message))
        raise SystemExit(2)

    def _with_remedy(self, message):
        if unknown := re.match(r"unrecognized arguments: (-[^\s=]+)", message):
            options = self._known_options()
            if unknown[1] in options:  # of another subcommand
                return f"{unknown[1]} is no option of this command; --help shows those that it has"
            return f"there is no option {unknown[1]}; {did_you_mean(unknown[1], options)}"
        if unknown := re.match(r"argument \S+: invalid choice: '(.*)' \(choose from (.*)\)", message):
            choices = re.findall(r"[^', ]+", unknown[2])
            return f"{message.split(' (choose')[0]}; {did_you_mean(unknown[1], choices)}"
        return message

    def _known_options(self):
        """Those with two dashes, of this parser and of its subcommands."""
        names = [name for name in self._option_string_actions if name.startswith("--")]
        for action in self._actions:
            for parser in action.choices.values() if isinstance(action, argparse._SubParsersAction) else ():
                names += parser._known_options()
        return list(dict.fromkeys(names))

    def format_help(self):
        commands, positional, options = {}, [], []
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                commands = {choice.dest: choice.help for choice in action._choices_actions}
            elif action.option_strings:
                options.append((", ".join(action.option_strings), action))
            else:
                positional.append((action.metavar or action.dest, action))
        usage = [self.prog, *(name for name, _ in positional), *(["NAME"] if commands else []), "[OPTION …]"]
        sections = {
            "": [*commands.items(), *((name, _text(action)) for name, action in positional)],
            "options": [(f"{names}{_value(action)}", _text(action)) for names, action in options],
        }
        return page(" ".join(usage), self.description, sections) + "\n"


def _value(action):
    if action.nargs == 0:
        return ""
    value = action.metavar or "|".join(map(str, action.choices or ())) or action.dest.upper()
    return f" {value} …" if action.nargs == "+" else f" {value}"


def _text(action):
    default = action.default
    hidden = default is None or isinstance(default, bool) or default in ([], argparse.SUPPRESS)
    return action.help if hidden else f"{action.help} (default: {default})"
