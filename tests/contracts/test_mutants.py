"""The list of deliberate bugs fits the source; `mutants.py` itself runs them."""

import ast

import pytest

from tests.contracts.mutants import MUTANTS, PROJECT

every_mutant = pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.bug)


@every_mutant
def test_old_text_occurs_once_and_new_text_is_python(mutant):
    source = (PROJECT / "keras_wsol" / mutant.file).read_text()
    assert source.count(mutant.old) == 1
    ast.parse(source.replace(mutant.old, mutant.new))


@every_mutant
def test_named_test_exists(mutant):
    file, function = mutant.test.partition("[")[0].split("::")
    tree = ast.parse((PROJECT / file).read_text())
    assert function in [n.name for n in tree.body if isinstance(n, ast.FunctionDef)]
