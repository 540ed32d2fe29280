"""What an expression may say, which name in it is what, and which of its operations need a guard.

Names are the record's fields, unless a comprehension binds them: by Python's rules, so that in
`sum(amount for amount in amount)` the last one is the field.
"""

from __future__ import annotations

import ast
import difflib
import math
from collections.abc import Iterable

from papyra_flow.expressions import linear, plain, times
from papyra_flow.expressions.catalogue import FUNCTIONS, METHODS
from papyra_flow.expressions.overflow import with_checks
from papyra_flow.expressions.parse import parse
from papyra_flow.expressions.patterns import PatternError, compiled
from papyra_flow.expressions.template import as_written

RECORD, RECORDS, HEADERS, WORK = "_r", "_rs", "_h", "_w"

_OF_RECORD = frozenset({"get", "has"})
_ALLOWED = (
    ast.Constant, ast.Name, ast.Load, ast.Store, ast.Attribute, ast.Subscript, ast.Slice, ast.Call, ast.keyword,
    ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.UAdd, ast.Invert, ast.BinOp,
    ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.BitAnd, ast.BitOr, ast.BitXor,
    ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Is, ast.IsNot, ast.In, ast.NotIn,
    ast.IfExp, ast.List, ast.Tuple, ast.Set, ast.Dict, ast.JoinedStr, ast.FormattedValue, ast.ListComp,
    ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.comprehension,
)  # fmt: skip


def checked(text: str) -> ast.expr:
    """The checked tree of an expression; raises ValueError with one sentence."""
    return checked_tree(*parse(text), text)


def checked_tree(body: ast.expr, source: str, text: str) -> ast.expr:
    """The same for a tree of `parse`, or a part of one; the tree that is given is used up."""
    try:
        guarded = plain.growth(body) > plain.MOST_GROWTH
        checker = _Checker(source, text, guarded=guarded)
        found: ast.expr = checker.visit(body)
    except RecursionError as exc:
        raise ValueError("the expression is nested too deeply") from exc
    found = with_checks(found)
    return _call("_weighed", found) if guarded else found


def names_in(body: ast.AST) -> set[str]:
    """All names in a checked tree."""
    return {node.id for node in ast.walk(body) if isinstance(node, ast.Name)}


def _call(name: str, *arguments: ast.expr) -> ast.expr:
    """A call of a guard, or of a method of the work's counter."""
    method = name.removeprefix("work.")
    target: ast.expr = ast.Name(name, ast.Load())
    if method != name:
        target = ast.Attribute(ast.Name(WORK, ast.Load()), method, ast.Load())
    call = ast.Call(target, list(arguments), [])
    return ast.fix_missing_locations(ast.copy_location(call, arguments[0]) if arguments else call)


class _Checker(ast.NodeTransformer):
    """Refuses what is not allowed, turns names into look-ups in the record, and puts guards where they are needed."""

    def __init__(self, source: str, text: str, *, guarded: bool) -> None:
        self.source = source
        self.text = text
        self.guarded = guarded
        """Whether even harmless operations are guarded, because there are too many of them."""
        self.bound: frozenset[str] = frozenset()
        self.unbound: frozenset[str] = frozenset()
        """Names that a comprehension binds only later on."""
        self.looping = 0
        """In how many loops, that are counted, the current place is."""
        self.summed: ast.expr | None = None
        """What `sum` adds up, if that needs no counter."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        if not isinstance(node, _ALLOWED):
            raise ValueError(f"{self._shown(node)} is not allowed in an expression")
        return super().generic_visit(node)

    # -- names ------------------------------------------------------------------------------------------------

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id.startswith("_"):
            raise ValueError(f"the name {node.id!r} is not allowed: it starts with an underscore")
        if node.id in self.unbound:
            raise ValueError(f"the name {node.id!r} is used before its `for`")
        if node.id in self.bound:
            return node
        if node.id == "record":
            return ast.copy_location(ast.Name(RECORD, ast.Load()), node)
        if node.id == "headers":
            return ast.copy_location(ast.Name(HEADERS, ast.Load()), node)
        look_up = ast.Subscript(ast.Name(RECORD, ast.Load()), ast.Constant(node.id), ast.Load())
        return ast.fix_missing_locations(ast.copy_location(look_up, node))

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if not isinstance(node.value, str | int | float | bool | None):
            raise ValueError(f"{self._shown(node)} is not allowed in an expression")
        if isinstance(node.value, float) and not math.isfinite(node.value):
            raise ValueError("a number is too large for a float")
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if node.attr.startswith("_"):
            raise ValueError(f"the attribute {node.attr!r} is not allowed: it starts with an underscore")
        value = self.visit(node.value)
        call = ast.Call(ast.Name("_attribute", ast.Load()), [value, ast.Constant(node.attr)], [])
        return ast.fix_missing_locations(ast.copy_location(call, node))

    # -- calls ------------------------------------------------------------------------------------------------

    def visit_Call(self, node: ast.Call) -> ast.AST:
        function = node.func
        if any(word.arg is None for word in node.keywords):
            raise ValueError("** is not allowed in an expression")
        if isinstance(function, ast.Attribute):
            name = function.attr
            made = self._method(node, function)
        elif isinstance(function, ast.Name) and function.id in FUNCTIONS:
            name = function.id
            made = self._function(node, name)
        else:
            name = function.id if isinstance(function, ast.Name) else self._shown(function)
            raise ValueError(f"unknown function {name!r}{_nearest(name, FUNCTIONS)}")
        made = ast.fix_missing_locations(ast.copy_location(made, node))
        return made if name in plain.SMALL_RESULTS else self._made(made)

    def _function(self, node: ast.Call, name: str) -> ast.expr:
        if name in self.bound | self.unbound:
            raise ValueError(f"the function {name!r} is shadowed by a loop's variable: rename the variable")
        if not self.looping and not self.guarded and linear.is_summed(node):
            self.summed = node.args[0]
        simple = not self.looping and plain.is_plain_call(name, node)
        target = name if FUNCTIONS[name].guarded is None or simple else f"_{name}"
        if name == "matches" and node.args and isinstance(node.args[0], ast.Constant):
            try:
                compiled(node.args[0].value)
            except PatternError as exc:
                raise ValueError(str(exc)) from exc
        arguments = self._arguments(node, read=name not in plain.AT_A_GLANCE, deep=name in plain.DEEP)
        if name in _OF_RECORD and arguments:
            arguments.insert(0, ast.Name(RECORD, ast.Load()))
        return ast.Call(ast.Name(target, ast.Load()), arguments, self._keywords(node))

    def _method(self, node: ast.Call, function: ast.Attribute) -> ast.expr:
        name = function.attr
        if name not in METHODS:
            raise ValueError(f"the method {name!r} is not allowed{_nearest(name, METHODS)}")
        if name == "strftime" and node.args and isinstance(node.args[0], ast.Constant):
            self._check_format(str(node.args[0].value))
        plainly = METHODS[name].guarded is None or (not self.looping and plain.is_plain_method(name, function, node))
        target = self._read(function.value, self.visit(function.value)) if name != "get" else self.visit(function.value)
        arguments, keywords = self._arguments(node, read=True), self._keywords(node)
        if plainly:
            return ast.Call(ast.Attribute(target, name, ast.Load()), arguments, keywords)
        return ast.Call(ast.Name(f"_{name}", ast.Load()), [target, *arguments], keywords)

    def _arguments(self, node: ast.Call, *, read: bool, deep: bool = False) -> list[ast.expr]:
        return [
            self._read(argument, self.visit(argument), deep=deep) if read else self.visit(argument)
            for argument in node.args
        ]

    def _keywords(self, node: ast.Call) -> list[ast.keyword]:
        return [ast.keyword(word.arg, self.visit(word.value)) for word in node.keywords]

    # -- operators --------------------------------------------------------------------------------------------

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        if not isinstance(node.op, _ALLOWED):
            raise ValueError(f"{self._shown(node)} is not allowed in an expression")
        careful = self.guarded or self.looping > 0
        guard = plain.guard_of(node, careful=careful)
        left, right = self.visit(node.left), self.visit(node.right)
        if guard is None:
            made: ast.expr = ast.BinOp(left, node.op, right)
        else:
            made = ast.Call(ast.Name(guard, ast.Load()), [left, right], [])
        made = ast.fix_missing_locations(ast.copy_location(made, node))
        return self._made(made) if plain.may_be_long(node) else made

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        if not self.looping:
            return self.generic_visit(node)
        sides = [node.left, *node.comparators]
        visited = [self.visit(side) for side in sides]
        fixed = any(isinstance(side, ast.Constant) for side in sides)
        for place, operator in enumerate(node.ops, start=1):
            if isinstance(operator, ast.In | ast.NotIn):
                visited[place] = self._read(sides[place], visited[place], lookup=True)
            elif not fixed and not isinstance(operator, ast.Is | ast.IsNot):
                visited[place] = self._read(sides[place], visited[place], deep=True)
        made = ast.Compare(visited[0], node.ops, visited[1:])
        return ast.fix_missing_locations(ast.copy_location(made, node))

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        made = self.generic_visit(node)
        return self._made(made) if isinstance(node.slice, ast.Slice) and isinstance(made, ast.expr) else made

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        made = self.generic_visit(node)
        if not isinstance(made, ast.expr) or (not self.looping and plain.is_plain_text(node)):
            return made
        return self._made(_call("_weighed", made))

    def visit_FormattedValue(self, node: ast.FormattedValue) -> ast.AST:
        value = self._read(node.value, self.visit(node.value), deep=True)
        if node.format_spec is not None:
            parts = node.format_spec.values if isinstance(node.format_spec, ast.JoinedStr) else []
            if any(not isinstance(part, ast.Constant) for part in parts):
                raise ValueError("a format may be at most 999 wide, and must be a literal")
            self._check_format("".join(str(part.value) for part in parts if isinstance(part, ast.Constant)))
        made = ast.FormattedValue(value, node.conversion, node.format_spec)
        return ast.fix_missing_locations(ast.copy_location(made, node))

    def _check_format(self, form: str) -> None:
        if wrong := times.wrong_format(form):
            raise ValueError(wrong)

    # -- loops ------------------------------------------------------------------------------------------------

    def _comprehension(self, node: ast.AST) -> ast.AST:
        if not isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            raise TypeError
        generators = node.generators
        targets = [self._targets(generator) for generator in generators]
        free = node is self.summed or (not self.looping and not self.guarded and linear.is_linear(node))
        taken = free or isinstance(node, ast.GeneratorExp) or plain.is_taken_from(node)
        outer = self.bound, self.unbound
        first = self.visit(generators[0].iter) if free else self._over(generators[0].iter)
        names = frozenset[str]().union(*targets)
        self.bound, self.unbound = self.bound - names, self.unbound | names
        self.looping += not free
        try:
            for number, generator in enumerate(generators):
                generator.iter = first if number == 0 else self._over(generator.iter)
                self.bound, self.unbound = self.bound | targets[number], self.unbound - targets[number]
                generator.ifs = [self.visit(condition) for condition in generator.ifs]
            if isinstance(node, ast.DictComp):
                node.key, node.value = self.visit(node.key), self.visit(node.value)
            else:
                node.elt = self.visit(node.elt)
        finally:
            self.looping -= not free
            self.bound, self.unbound = outer
        return node if taken else _call("work.whole", node)

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension  # noqa: N815

    def _over(self, node: ast.expr) -> ast.expr:
        made: ast.expr = self.visit(node)
        return made if isinstance(node, ast.GeneratorExp) else _call("work.over", made)

    def _targets(self, generator: ast.comprehension) -> frozenset[str]:
        if generator.is_async:
            raise ValueError("`async for` is not allowed in an expression")
        names: set[str] = set()
        for node in ast.walk(generator.target):
            if isinstance(node, ast.Name):
                if node.id.startswith("_"):
                    raise ValueError(f"the name {node.id!r} is not allowed: it starts with an underscore")
                names.add(node.id)
            elif not isinstance(node, ast.Tuple | ast.List | ast.Store):
                raise ValueError(f"`for {self._shown(generator.target).strip('`')}`: a loop is over names")
        return frozenset(names)

    def _read(self, before: ast.expr, node: ast.expr, *, deep: bool = False, lookup: bool = False) -> ast.expr:
        """A value that is looked at from one end to the other, which counts in a loop."""
        if not self.looping or isinstance(before, ast.Constant | ast.GeneratorExp):
            return node
        if lookup and isinstance(before, ast.Tuple | ast.List | ast.Set):
            return node
        return _call("work.deep" if deep else "work.scan" if lookup else "work.read", node)

    def _made(self, node: ast.expr) -> ast.expr:
        """A value that is made, which counts in a loop."""
        return _call("work.made", node) if self.looping else node

    def _shown(self, node: ast.AST) -> str:
        found = ast.get_source_segment(self.source, node) if isinstance(node, ast.expr) else None
        return f"`{as_written(found, self.text)}`" if found else type(node).__name__


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), 1)
    return f" (did you mean {near[0]}?)" if near else ""
