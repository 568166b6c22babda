"""Planted faults in workflow."""

from faults import Fault

FAULTS = (
    Fault(
        "growing: energies in the order of arrival",
        "workflow/incremental.py",
        "unsorted[:, order],",
        "unsorted,",
        "tests/test_workflow_incremental.py",
    ),
    Fault(
        "growing: only the new frame's own product is kept",
        "workflow/incremental.py",
        "self._products[n] = self._products[:, n] = row",
        "self._products[n, n] = row[n]",
        "tests/test_workflow_incremental.py",
    ),
    Fault(
        "growing: a frame is added before it is looked at",
        "workflow/incremental.py",
        "        self._require_usable(image, energy_ev)\n",
        "",
        "tests/test_workflow_incremental.py",
    ),
    Fault(
        "plan: counts planned as density",
        "workflow/plan.py",
        "drift if is_counts else 0.0",
        "0.0",
        "tests/test_workflow_plan.py",
    ),
    Fault(
        "workspace: frames of a failed run stay on the disk",
        "workflow/resources.py",
        "    finally:\n        workspace.clear()",
        "    finally:\n        pass",
        "tests/test_storage_scratch.py",
    ),
    Fault(
        "watch: a frame taken up before its flat is there",
        "workflow/live.py",
        " or not all_there(files):",
        ":",
        "tests/test_workflow_live.py",
    ),
    Fault(
        "watch: frames taken up without end while a map is made",
        "workflow/live.py",
        "return not due",
        "return True",
        "tests/test_workflow_live.py",
    ),
    Fault(
        "watch: a file that still grows is read",
        "workflow/live.py",
        "if path not in since or since[path][0] != state:",
        "if path not in since:",
        "tests/test_workflow_live.py",
    ),
)
