"""Where each path leads."""

from django.contrib import admin
from django.urls import path
from guestbook import views

urlpatterns = [
    path("", views.index, name="index"),
    path("entries.csv", views.entries_csv, name="entries"),
    path("photos/<int:number>", views.photo, name="photo"),
    path("admin/", admin.site.urls),
]
