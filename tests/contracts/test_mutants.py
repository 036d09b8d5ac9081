"""The list of deliberate bugs fits the source; `mutants.py` itself runs them."""

import ast

from tests.contracts.mutants import MUTANTS, PROJECT


def test_old_text_occurs_once_and_new_text_is_python():
    for mutant in MUTANTS:
        source = (PROJECT / "keras_wsol" / mutant.file).read_text()
        assert source.count(mutant.old) == 1, mutant.bug
        ast.parse(source.replace(mutant.old, mutant.new))


def test_named_tests_exist():
    for mutant in MUTANTS:
        file, function = mutant.test.partition("[")[0].split("::")
        body = ast.parse((PROJECT / file).read_text()).body
        names = [node.name for node in body if isinstance(node, ast.FunctionDef)]
        assert function in names, mutant.bug
