#!/bin/sh
# The demo: ingest the sample corpus with the embedded server and model, then ask it some questions.
# Settings of the machine do not reach it, so that it needs no key and touches no database of yours.
set -eu
bin=$1
home=$2
for name in $(env | sed -n 's/^\(VECTOR_PIPELINE_[A-Z_]*\|OPENAI_[A-Z_]*\|DATABASE_URL\|DAGSTER_HOME\)=.*/\1/p'); do
    unset "$name"
done
export VECTOR_PIPELINE_HOME="$home"

echo "Ingesting examples/sample_corpus into an embedded Postgres, with the embedded model (wordllama, 256 dimensions):"
"$bin/vector-pipeline" ingest examples/sample_corpus
for question in "How do I mend a flat bicycle tyre?" "김치는 얼마나 발효시켜야 하나요?" "How long may I keep a borrowed tool?" "What is the deposit for the cement mixer?" "회원 카드를 잃어버렸어요"; do
    echo
    echo "> $question"
    "$bin/vector-pipeline" search "$question" -k 1
done
echo
echo "Next: $bin/vector-pipeline ingest YOUR_FOLDER; $bin/vector-pipeline dev for the Dagster UI; README.md for models and databases of your own."
