"""A Django app that searches what vector-pipeline has loaded into the project's own database.

pip install vector-pipeline 'django>=5.2'

Add it to INSTALLED_APPS, include its URLs, and set DATABASE_URL to the database of DATABASES["default"]; then load a
folder into it with `vector-pipeline ingest FOLDER`. The tables are the pipeline's: Django migrates nothing of them.
"""
