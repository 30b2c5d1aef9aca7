"""A small student learns from the labels and from the original's answers (Hinton et al. 2015)."""

from __future__ import annotations

from collections.abc import Sequence

from gaprune.compress.method import Method, Outline, Session, Step, Work, layer_kinds
from gaprune.compress.words import method_text
from gaprune.errors import MethodError


class Distill(Method):
    """Distillation into ``distill:STUDENT``; without a name into the task's default student."""

    name = "distill"
    trains = True

    def __init__(self, words: Sequence[str] = ()) -> None:
        self.text = method_text(self.name, words)
        self.student = ":".join(words)

    def check(self, outline: Outline) -> None:
        """See ``Method``."""
        if outline.methods:
            before = outline.methods[-1]
            advice = " (distill:ours:... takes a member as the student)" if before == "ours" else ""
            raise MethodError(
                f"distill cannot follow {before}: it starts from another network, so what {before} did would be lost; "
                f"write distill first{advice}"
            )
        super().check(outline)
        if self.student and outline.check_student is not None:
            outline.check_student(self.student)

    def after(self, outline: Outline) -> Outline:
        """See ``Method``."""
        return Outline(outline.kind, (*outline.methods, self.name), None, criterion=outline.criterion)

    def apply(self, work: Work, session: Session) -> Work:
        """See ``Method``."""
        self.check(work.outline)
        student = work.task.student(self.student or work.task.students()[0])
        trained = student.task.fit(
            student.model,
            fresh=not student.trained,
            share=session.share,
            directory=session.directory,
            reporter=session.reporter,
        )
        params = sum(parameter.numel() for parameter in student.model.parameters())
        report = {
            "student": student.base.get("student"),
            "params share": params / work.params,
            "layers": sorted(layer_kinds(student.model)),
            "training": trained,
        }
        return Work.of(student.model, student.task, student.base, (*work.steps, Step(self.text, report)))
