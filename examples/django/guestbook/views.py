"""The pages: a form with an upload, a streamed response, and a file."""

import csv
import os

from django import forms
from django.http import FileResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from .models import Entry


class EntryForm(forms.ModelForm):
    class Meta:
        model = Entry
        fields = ["name", "text", "photo"]


def index(request):
    form = EntryForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        form.save()
        return redirect("index")
    page = {"form": form, "entries": Entry.objects.all()[:50], "instance": os.environ.get("PACELINE_INSTANCE")}
    return render(request, "guestbook/index.html", page, status=400 if form.errors else 200)


class Echo:
    """A file that yields what is written to it."""

    def write(self, value):
        return value


def entries_csv(_request):
    """Row by row: no row waits for the next one."""
    writer = csv.writer(Echo())
    rows = Entry.objects.order_by("id").values_list("name", "text").iterator()
    lines = (writer.writerow(row) for row in rows)
    return StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")


def photo(_request, number):
    entry = get_object_or_404(Entry.objects.exclude(photo=""), pk=number)
    return FileResponse(entry.photo.open("rb"), as_attachment=True)
